# Every permission: what is not in these lists is granted to no one.

mock_provider "google" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  environment  = "prod"
  project_id   = "example-project"
  alert_emails = ["data@example.com"]
}

run "pipeline_alone" {
  command = plan

  assert {
    condition = output.permissions == tolist([
      "account rickandmorty-container: roles/iam.serviceAccountUser for serviceAccount:rickandmorty-kestra@example-project.iam.gserviceaccount.com",
      "bucket example-project-rickandmorty-landing/_results: roles/storage.objectUser for serviceAccount:rickandmorty-container@example-project.iam.gserviceaccount.com",
      "bucket example-project-rickandmorty-landing/_results: roles/storage.objectViewer for serviceAccount:rickandmorty-kestra@example-project.iam.gserviceaccount.com",
      "bucket example-project-rickandmorty-landing/meltano-state: roles/storage.objectUser for serviceAccount:rickandmorty-container@example-project.iam.gserviceaccount.com",
      "bucket example-project-rickandmorty-landing: roles/storage.objectCreator for serviceAccount:rickandmorty-container@example-project.iam.gserviceaccount.com",
      "bucket example-project-rickandmorty-landing: roles/storage.objectViewer for serviceAccount:rickandmorty-container@example-project.iam.gserviceaccount.com",
      "dataset rickandmorty_landing: projects/example-project/roles/rickandmorty_landing_writer for serviceAccount:rickandmorty-container@example-project.iam.gserviceaccount.com",
      "dataset rickandmorty_marts: roles/bigquery.dataEditor for serviceAccount:rickandmorty-container@example-project.iam.gserviceaccount.com",
      "dataset rickandmorty_snapshots: roles/bigquery.dataEditor for serviceAccount:rickandmorty-container@example-project.iam.gserviceaccount.com",
      "dataset rickandmorty_staging: roles/bigquery.dataEditor for serviceAccount:rickandmorty-container@example-project.iam.gserviceaccount.com",
      "images rickandmorty: roles/artifactregistry.reader for serviceAccount:rickandmorty-container@example-project.iam.gserviceaccount.com",
      "project: roles/batch.agentReporter for serviceAccount:rickandmorty-container@example-project.iam.gserviceaccount.com",
      "project: roles/batch.jobsEditor for serviceAccount:rickandmorty-kestra@example-project.iam.gserviceaccount.com",
      "project: roles/bigquery.jobUser for serviceAccount:rickandmorty-container@example-project.iam.gserviceaccount.com",
      "project: roles/logging.logWriter for serviceAccount:rickandmorty-container@example-project.iam.gserviceaccount.com",
      "project: roles/logging.viewer for serviceAccount:rickandmorty-kestra@example-project.iam.gserviceaccount.com",
      "secret rickandmorty-alert-webhook: roles/secretmanager.secretAccessor for serviceAccount:rickandmorty-kestra@example-project.iam.gserviceaccount.com",
    ])
    error_message = "Container and Kestra have exactly these permissions in production."
  }
}

run "everything_on" {
  command = plan

  variables {
    # One more than a budget takes.
    alert_emails         = [for number in range(6) : "data${number}@example.com"]
    landing_rows_days    = 400
    landing_versioning   = true
    customer_managed_key = true
    github               = { owner_id = "1234567", repository_id = "123456789", plan = true }
    kestra_principals    = ["serviceAccount:example-project.svc.id.goog[kestra/kestra]"]
    marts_readers        = ["group:analysts@example.com"]
    state_bucket         = "example-state"
    budget               = { billing_account = "012345-6789AB-CDEF01" }
    kestra_home = {
      users          = ["group:data@example.com"]
      kestra_image   = "kestra/kestra:v2.0.0@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      postgres_image = "postgres:18@sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
    }
  }

  assert {
    condition = toset(output.permissions) == setunion(run.pipeline_alone.permissions, [
      "account rickandmorty-ci: roles/iam.workloadIdentityUser for principalSet://iam.googleapis.com/projects/424242/locations/global/workloadIdentityPools/rickandmorty-github/attribute.repository_at/123456789/refs/heads/main",
      "account rickandmorty-kestra: roles/iam.workloadIdentityUser for serviceAccount:example-project.svc.id.goog[kestra/kestra]",
      "account rickandmorty-plan: roles/iam.workloadIdentityUser for principalSet://iam.googleapis.com/projects/424242/locations/global/workloadIdentityPools/rickandmorty-github/attribute.repository_id/123456789",
      "bucket example-state: roles/storage.objectViewer for serviceAccount:rickandmorty-plan@example-project.iam.gserviceaccount.com",
      "dataset rickandmorty_marts: roles/bigquery.dataViewer for group:analysts@example.com",
      "images rickandmorty: roles/artifactregistry.writer for serviceAccount:rickandmorty-ci@example-project.iam.gserviceaccount.com",
      "key for bigquery: roles/cloudkms.cryptoKeyEncrypterDecrypter for serviceAccount:bq-424242@bigquery-encryption.iam.gserviceaccount.com",
      "key for disks: roles/cloudkms.cryptoKeyEncrypterDecrypter for serviceAccount:service-424242@compute-system.iam.gserviceaccount.com",
      "key for registry: roles/cloudkms.cryptoKeyEncrypterDecrypter for serviceAccount:service-424242@gcp-sa-artifactregistry.iam.gserviceaccount.com",
      "key for secrets: roles/cloudkms.cryptoKeyEncrypterDecrypter for serviceAccount:service-424242@gcp-sa-secretmanager.iam.gserviceaccount.com",
      "key for storage: roles/cloudkms.cryptoKeyEncrypterDecrypter for serviceAccount:service-424242@gs-project-accounts.iam.gserviceaccount.com",
      "machine rickandmorty-kestra: roles/iap.tunnelResourceAccessor for group:data@example.com",
      "project: roles/iam.securityReviewer for serviceAccount:rickandmorty-plan@example-project.iam.gserviceaccount.com",
      "project: roles/logging.logWriter for serviceAccount:rickandmorty-kestra@example-project.iam.gserviceaccount.com",
      "project: roles/serviceusage.serviceUsageConsumer for serviceAccount:rickandmorty-plan@example-project.iam.gserviceaccount.com",
      "project: roles/viewer for serviceAccount:rickandmorty-plan@example-project.iam.gserviceaccount.com",
      "secret rickandmorty-kestra-api-token: roles/secretmanager.secretAccessor for serviceAccount:rickandmorty-ci@example-project.iam.gserviceaccount.com",
    ])
    error_message = "With everything switched on, exactly these permissions are added."
  }

  assert {
    condition     = output.kestra_home == "gcloud compute start-iap-tunnel rickandmorty-kestra 8080 --local-host-port=localhost:8080 --zone=europe-west1-b --project=example-project"
    error_message = "The output says how to open Kestra."
  }

  assert {
    condition = output.github_variables == join("", [for line in [
      "GCP_IMAGE=europe-west1-docker.pkg.dev/example-project/rickandmorty/pipeline",
      "GCP_PLAN_SERVICE_ACCOUNT=rickandmorty-plan@example-project.iam.gserviceaccount.com",
      "GCP_REGION=europe-west1",
      "GCP_SERVICE_ACCOUNT=rickandmorty-ci@example-project.iam.gserviceaccount.com",
      "GCP_WORKLOAD_IDENTITY_PROVIDER=projects/424242/locations/global/workloadIdentityPools/rickandmorty-github/providers/github",
      "KESTRA_TOKEN_SECRET=projects/example-project/secrets/rickandmorty-kestra-api-token",
      "TF_ENVIRONMENT=prod",
      "TF_STATE_BUCKET=example-state",
    ] : "${line}\n"])
    error_message = "The repository's variables are those that the workflows read."
  }
}
