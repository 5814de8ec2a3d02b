# Names, places, lifecycle and layout, as design and Meltano have them.

mock_provider "google" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  environment  = "prod"
  project_id   = "example-project"
  alert_emails = ["data@example.com"]
}

run "prod" {
  command = plan

  assert {
    condition = output.datasets == {
      landing   = "rickandmorty_landing"
      marts     = "rickandmorty_marts"
      snapshots = "rickandmorty_snapshots"
      staging   = "rickandmorty_staging"
    }
    error_message = "Production's datasets have no prefix: dbt and the target look for these names."
  }

  assert {
    condition = output.landing_tables == {
      _loads     = "rickandmorty_landing._loads"
      characters = "rickandmorty_landing.characters"
      episodes   = "rickandmorty_landing.episodes"
      locations  = "rickandmorty_landing.locations"
    }
    error_message = "There is one landing table a stream, and the ledger."
  }

  assert {
    condition = output.environment == {
      DBT_BIGQUERY_LOCATION     = "EU"
      GOOGLE_CLOUD_PROJECT      = "example-project"
      MELTANO_ENVIRONMENT       = "prod"
      MELTANO_STATE_BACKEND_URI = "gs://example-project-rickandmorty-landing/meltano-state"
      TARGET_BIGQUERY_BUCKET    = "example-project-rickandmorty-landing"
      TARGET_BIGQUERY_LOCATION  = "EU"
    }
    error_message = "The container's environment is what meltano.yml and the profile of dbt read."
  }

  assert {
    condition     = output.dotenv == "DBT_BIGQUERY_LOCATION=EU\nGOOGLE_CLOUD_PROJECT=example-project\nMELTANO_ENVIRONMENT=prod\nMELTANO_STATE_BACKEND_URI=gs://example-project-rickandmorty-landing/meltano-state\nTARGET_BIGQUERY_BUCKET=example-project-rickandmorty-landing\nTARGET_BIGQUERY_LOCATION=EU\n"
    error_message = "dotenv is the same, a line each."
  }

  assert {
    condition = output.kestra == {
      environment     = output.environment
      gcp_project     = "example-project"
      gcp_region      = "europe-west1"
      image           = "europe-west1-docker.pkg.dev/example-project/rickandmorty/pipeline"
      network         = "projects/example-project/global/networks/rickandmorty-batch"
      service_account = "rickandmorty-account@example-project.iam.gserviceaccount.com"
      subnetwork      = "projects/example-project/regions/europe-west1/subnetworks/rickandmorty-batch"
    }
    error_message = "Kestra is given the keys that the flows read, and everything that a Batch job is made of."
  }

  assert {
    condition     = output.github == null
    error_message = "Without github there is nothing to sign in with."
  }
}

run "dev_has_a_prefix" {
  command = plan

  variables {
    environment = "dev"
  }

  assert {
    condition = [output.datasets.landing, output.datasets.marts, output.environment.TARGET_BIGQUERY_BUCKET] == [
      "dev_rickandmorty_landing", "dev_rickandmorty_marts", "example-project-dev-rickandmorty-landing",
    ]
    error_message = "Outside production the names have the environment in them, datasets as DATASET_PREFIX in meltano.yml."
  }

  assert {
    condition     = length(module.landing_tables) == 0 && output.landing_tables == {}
    error_message = "Outside production the loader makes the landing tables, and Terraform has no say in their columns."
  }
}

run "dev_again_after_a_destroy" {
  command = plan

  variables {
    environment          = "dev"
    generation           = 2
    landing_rows_days    = 90
    customer_managed_key = true
    github               = { owner_id = "1234567", repository_id = "123456789" }
  }

  assert {
    condition = { keys = module.encryption[0].names, pool = module.github[0].pool_id } == {
      keys = toset(["dev-rickandmorty-2"]), pool = "dev-rickandmorty-2-github"
    }
    error_message = "Names that stay taken get new ones: key rings and keys for ever, the federation pool for 30 days."
  }

  assert {
    condition     = output.environment.TARGET_BIGQUERY_BUCKET == "example-project-dev-rickandmorty-landing" && output.kestra_account == "rickandmorty-account@example-project.iam.gserviceaccount.com"
    error_message = "What is free again keeps its name."
  }

  assert {
    condition     = module.dataset["landing"].rows_days == 90 && module.dataset["marts"].rows_days == null
    error_message = "Where the loader makes the tables, the dataset's default lets their days leave."
  }
}

run "existing_network" {
  command = plan

  variables {
    network = {
      network    = "projects/network-project/global/networks/shared"
      subnetwork = "projects/network-project/regions/europe-west1/subnetworks/batch"
    }
  }

  assert {
    condition     = length(module.network) == 0 && { network = output.kestra.network, subnetwork = output.kestra.subnetwork } == var.network
    error_message = "Kestra gets the network that is there; none is made, and no NAT is paid for."
  }
}

run "bucket_is_private_and_clears_itself" {
  command = plan

  module {
    source = "./modules/bucket"
  }

  variables {
    name                = "example-project-landing"
    location            = "EU"
    delete              = [{ suffixes = [".jsonl.gz"] }, { prefixes = ["_"] }]
    delete_after_days   = 90
    deletion_protection = true
    versioning          = true
    kms_key             = "projects/example-project/locations/europe/keyRings/rickandmorty/cryptoKeys/rickandmorty"
  }

  assert {
    condition = {
      access     = google_storage_bucket.this.public_access_prevention
      uniform    = google_storage_bucket.this.uniform_bucket_level_access
      restorable = google_storage_bucket.this.soft_delete_policy[0].retention_duration_seconds
      protection = google_storage_bucket.this.deletion_policy
      destroyed  = google_storage_bucket.this.force_destroy
      key        = google_storage_bucket.this.encryption[0].default_kms_key_name
      } == {
      access     = "enforced"
      uniform    = true
      restorable = 604800
      protection = "PREVENT"
      destroyed  = false
      key        = var.kms_key
    }
    error_message = "Access is uniform and never public, a deleted part can be restored for a week, a protected bucket stays, and the key is the one given."
  }

  assert {
    condition = [
      for rule in google_storage_bucket.this.lifecycle_rule :
      "${one(rule.action).type} ${try(tostring(coalesce(one(rule.condition).age)), "-")} ${try(tostring(coalesce(one(rule.condition).days_since_noncurrent_time)), "-")}"
    ] == ["Delete 90 -", "Delete 90 -", "AbortIncompleteMultipartUpload 1 -", "Delete - 30"]
    error_message = "Old parts and notes, incomplete uploads and old versions are deleted."
  }
}

run "landing_tables_are_laid_out_as_the_target_does" {
  command = plan

  module {
    source = "./modules/landing_tables"
  }

  variables {
    dataset_id          = "rickandmorty_landing"
    schemas             = "./schemas"
    rows_days           = 90
    deletion_protection = true
  }

  assert {
    condition = alltrue([
      for name in ["characters", "episodes", "locations"] :
      google_bigquery_table.this[name].time_partitioning[0].type == "DAY" &&
      google_bigquery_table.this[name].time_partitioning[0].field == "_sdc_batched_at" &&
      google_bigquery_table.this[name].time_partitioning[0].expiration_ms == 7776000000 &&
      google_bigquery_table.this[name].clustering == tolist(["id"])
    ])
    error_message = "Streams' tables are partitioned by day on _sdc_batched_at, clustered by id, and rows leave after rows_days."
  }

  assert {
    condition     = length(google_bigquery_table.this["_loads"].time_partitioning) == 0 && google_bigquery_table.this["_loads"].clustering == null
    error_message = "The ledger is small and plain, and keeps everything."
  }

  assert {
    condition = alltrue([
      for name in ["characters", "episodes", "locations"] :
      length(setsubtract(["id", "_sdc_table_version", "_sdc_run_id", "_sdc_batched_at"], jsondecode(google_bigquery_table.this[name].schema)[*].name)) == 0
    ])
    error_message = "Every stream's table has its key and the metadata that dbt reads."
  }

  assert {
    condition = one([for field in jsondecode(google_bigquery_table.this["characters"].schema) : [field.type, field.mode, field.fields[*].name] if field.name == "origin"]) == [
      "RECORD", "NULLABLE", ["name", "url"],
    ]
    error_message = "Nested fields stay nested."
  }

  assert {
    condition     = alltrue([for table in google_bigquery_table.this : table.deletion_protection])
    error_message = "Protected tables are neither dropped nor replaced."
  }
}

run "images_keep_their_tags_and_leave_when_old" {
  command = plan

  module {
    source = "./modules/image_registry"
  }

  variables {
    region              = "europe-west1"
    repository_id       = "rickandmorty"
    deletion_protection = true
  }

  assert {
    condition     = google_artifact_registry_repository.this.docker_config[0].immutable_tags
    error_message = "A tag never means another image."
  }

  assert {
    condition = !google_artifact_registry_repository.this.cleanup_policy_dry_run && {
      for policy in google_artifact_registry_repository.this.cleanup_policies : policy.id => policy.action
    } == { keep-newest = "KEEP", delete-old = "DELETE" }
    error_message = "Old images are deleted, the newest are kept, and the clean-up policies are in force."
  }
}

run "network_lets_nothing_in" {
  command = plan

  module {
    source = "./modules/batch_network"
  }

  variables {
    name   = "rickandmorty"
    region = "europe-west1"
  }

  assert {
    condition     = !google_compute_network.this.auto_create_subnetworks && google_compute_subnetwork.this.private_ip_google_access
    error_message = "One subnetwork, which reaches Google without the internet."
  }

  assert {
    condition     = google_compute_firewall.nothing_in.direction == "INGRESS" && one(google_compute_firewall.nothing_in.deny).protocol == "all" && length(google_compute_firewall.nothing_in.allow) == 0
    error_message = "Nothing comes in."
  }

  assert {
    condition     = [for rule in google_compute_firewall.https_out.allow : "${rule.protocol} ${join(",", rule.ports)}"] == ["tcp 443"] && google_compute_firewall.https_out.priority < google_compute_firewall.nothing_else_out.priority
    error_message = "Only HTTPS goes out."
  }

  assert {
    condition     = google_compute_router_nat.this.source_subnetwork_ip_ranges_to_nat == "LIST_OF_SUBNETWORKS"
    error_message = "Machines without an address reach the API through NAT."
  }
}

run "a_failed_run_raises_the_alert" {
  command = plan

  module {
    source = "./modules/failure_alert"
  }

  variables {
    name   = "rickandmorty"
    emails = ["data@example.com"]
  }

  assert {
    condition     = strcontains(google_monitoring_alert_policy.failed_run.conditions[0].condition_matched_log[0].filter, "projects/example-project/logs/batch_task_logs")
    error_message = "The alert reads the container's log."
  }

  assert {
    condition     = google_monitoring_alert_policy.failed_run.alert_strategy[0].notification_rate_limit[0].period == "3600s"
    error_message = "An alert on a log line needs a rate limit."
  }

  assert {
    condition     = google_monitoring_notification_channel.email["data@example.com"].labels.email_address == "data@example.com"
    error_message = "Each address has its channel."
  }
}

run "budget_of_the_project" {
  command = plan

  module {
    source = "./modules/budget"
  }

  variables {
    name                  = "rickandmorty"
    billing_account       = "012345-6789AB-CDEF01"
    monthly_amount        = 25
    project_number        = "424242"
    notification_channels = [for number in range(1, 7) : "projects/example-project/notificationChannels/${number}"]
  }

  assert {
    condition     = google_billing_budget.this.amount[0].specified_amount[0].units == "25" && google_billing_budget.this.budget_filter[0].projects == toset(["projects/424242"])
    error_message = "The budget is the project's, in whole units."
  }

  assert {
    condition     = length(google_billing_budget.this.all_updates_rule[0].monitoring_notification_channels) == 5
    error_message = "A budget takes five channels."
  }

  assert {
    condition     = [for rule in google_billing_budget.this.threshold_rules : "${rule.spend_basis} ${rule.threshold_percent}"] == ["CURRENT_SPEND 0.5", "CURRENT_SPEND 0.9", "CURRENT_SPEND 1", "FORECASTED_SPEND 1"]
    error_message = "It notifies at half, nine tenths and all of it, and when the forecast exceeds it."
  }
}

run "services_and_audit_logs" {
  command = plan

  module {
    source = "./modules/project"
  }

  variables {
    audit_logs = true
    services   = ["bigquery.googleapis.com", "storage.googleapis.com"]
  }

  assert {
    condition     = alltrue([for service in google_project_service.this : !service.disable_on_destroy])
    error_message = "A service that others may use is never switched off."
  }

  assert {
    condition     = toset(google_project_iam_audit_config.this["storage.googleapis.com"].audit_log_config[*].log_type) == toset(["ADMIN_READ", "DATA_READ", "DATA_WRITE"])
    error_message = "Who reads and writes objects is logged."
  }

  assert {
    condition     = toset(keys(google_project_iam_audit_config.this)) == toset(["iam.googleapis.com", "secretmanager.googleapis.com", "storage.googleapis.com", "sts.googleapis.com"])
    error_message = "Objects, secrets and identities are logged."
  }
}

run "kestras_home_is_reached_by_name_only" {
  command = plan

  module {
    source = "./modules/kestra_home"
  }

  variables {
    name                = "rickandmorty"
    region              = "europe-west1"
    zone                = "europe-west1-b"
    machine_type        = "e2-medium"
    network             = "projects/example-project/global/networks/rickandmorty-batch"
    subnetwork          = "projects/example-project/regions/europe-west1/subnetworks/rickandmorty-batch"
    service_account     = "rickandmorty-kestra@example-project.iam.gserviceaccount.com"
    alert_webhook       = "rickandmorty-alert-webhook"
    kestra_image        = "kestra/kestra:v2.0.0"
    postgres_image      = "postgres:18"
    users               = ["group:data@example.com"]
    deletion_protection = true
  }

  assert {
    condition     = length(google_compute_instance.this.network_interface[0].access_config) == 0 && length(google_compute_instance.this.network_interface[0].ipv6_access_config) == 0
    error_message = "The machine has no address of its own."
  }

  assert {
    condition     = google_compute_firewall.identity_aware_proxy_in.source_ranges == toset(["35.235.240.0/20"]) && google_compute_firewall.identity_aware_proxy_in.target_service_accounts == toset(["rickandmorty-kestra@example-project.iam.gserviceaccount.com"])
    error_message = "Only Identity-Aware Proxy comes in, and to Kestra's machine only."
  }

  assert {
    condition     = google_compute_instance.this.service_account[0].email == "rickandmorty-kestra@example-project.iam.gserviceaccount.com" && alltrue([for key in ["block-project-ssh-keys", "enable-oslogin"] : google_compute_instance.this.metadata[key] == "true"])
    error_message = "The machine is the Kestra account, and its shell is opened by name."
  }

  assert {
    condition     = google_compute_instance.this.deletion_protection && google_compute_disk.data.deletion_policy == "PREVENT"
    error_message = "Protected, machine and data stay."
  }

  assert {
    condition = [
      for file in yamldecode(google_compute_instance.this.metadata["user-data"]).write_files : basename(file.path)
    ] == ["application.yaml", "prepare.sh", "secrets.sh", "kestra-postgres.service", "kestra.service"]
    error_message = "What the machine starts with is one file that can be read as YAML."
  }

  assert {
    condition     = yamldecode(yamldecode(google_compute_instance.this.metadata["user-data"]).write_files[0].content).datasources.postgres.password == "$${POSTGRES_PASSWORD}"
    error_message = "The database's password is in no metadata."
  }

  assert {
    condition     = output.open == "gcloud compute start-iap-tunnel rickandmorty-kestra 8080 --local-host-port=localhost:8080 --zone=europe-west1-b --project=example-project"
    error_message = "The output says how to open it."
  }
}
