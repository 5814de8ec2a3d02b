locals {
  # What the container needs; the rest is in meltano.yml.
  container_environment = {
    GOOGLE_CLOUD_PROJECT      = module.project.project_id
    MELTANO_ENVIRONMENT       = var.environment
    MELTANO_STATE_BACKEND_URI = "gs://${module.landing_bucket.name}/meltano-state"
    TARGET_BIGQUERY_BUCKET    = module.landing_bucket.name
    TARGET_BIGQUERY_LOCATION  = var.location
    DBT_BIGQUERY_LOCATION     = var.location
  }
}

output "datasets" {
  description = "Dataset ids by layer."
  value       = { for layer, dataset in module.dataset : layer => dataset.dataset_id }
}

output "dotenv" {
  description = "The same as lines of a .env file: terraform output -raw dotenv > ../.env"
  value       = join("", [for name, value in local.container_environment : "${name}=${value}\n"])
}

output "environment" {
  description = "Environment variables of Meltano and its container."
  value       = local.container_environment
}

output "github_variables" {
  description = "The repository's variables, one per line: terraform output -raw github_variables > github.env && gh variable set --env-file github.env"
  value = var.github == null ? "" : join("", [for name, value in {
    GCP_IMAGE                      = "${module.images.address}/pipeline"
    GCP_PLAN_SERVICE_ACCOUNT       = one(module.plan[*].email)
    GCP_REGION                     = var.region
    GCP_SERVICE_ACCOUNT            = module.ci[0].email
    GCP_WORKLOAD_IDENTITY_PROVIDER = module.github[0].provider
    KESTRA_TOKEN_SECRET            = "projects/${module.project.project_id}/secrets/${module.kestra_api_token.secret_id}"
    TF_ENVIRONMENT                 = var.environment
    TF_STATE_BUCKET                = var.state_bucket
  } : "${name}=${value}\n" if value != null])
}

output "kestra" {
  description = "The keys and values of Kestra's KV store that the flows read; image needs a digest."
  value = {
    environment     = local.container_environment
    gcp_project     = module.project.project_id
    gcp_region      = var.region
    image           = "${module.images.address}/pipeline"
    network         = local.network.network
    service_account = module.container.email
    subnetwork      = local.network.subnetwork
  }
}

output "kestra_account" {
  description = "The service account that Kestra runs as."
  value       = module.kestra.email
}

output "kestra_home" {
  description = "The command that opens Kestra at http://localhost:8080; null without kestra_home."
  value       = one(module.kestra_home[*].open)
}

output "landing_tables" {
  description = "The landing tables by stream; _loads is the ledger. None outside prod: the loader makes them there."
  value       = { for name, table in google_bigquery_table.landing : name => "${table.dataset_id}.${table.table_id}" }
}

output "permissions" {
  description = "Every permission granted here, as text: terraform output -json permissions"
  value = sort(concat(
    flatten([for dataset in module.dataset : dataset.permissions]),
    flatten([for account in concat([module.container, module.kestra], module.ci, module.plan) : account.permissions]),
    flatten(module.encryption[*].permissions),
    flatten(module.kestra_home[*].permissions),
    module.landing_bucket.permissions,
    module.images.permissions,
    module.alert_webhook.permissions,
    module.kestra_api_token.permissions,
    [for grant in google_storage_bucket_iam_member.plan_reads_state : "bucket ${grant.bucket}: ${grant.role} for ${grant.member}"],
  ))
}

output "secrets" {
  description = "Names of the secrets that need a value."
  value = {
    alert_webhook    = module.alert_webhook.secret_id
    kestra_api_token = module.kestra_api_token.secret_id
  }
}
