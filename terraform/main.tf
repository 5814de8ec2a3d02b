# What the pipeline needs in one project, for one environment. A module is one thing with its permissions; the
# permissions themselves all stand here, so that they can be read in one place.

locals {
  app            = "rickandmorty"
  dataset_prefix = var.environment == "prod" ? "" : "${var.environment}_"
  name           = "${var.environment == "prod" ? "" : "${var.environment}-"}${local.app}"
  labels         = { app = local.app, environment = var.environment }
  data_key       = one(module.encryption[*].data_key)
  regional_key   = one(module.encryption[*].regional_key)
  # Names that stay taken after a destroy.
  lasting_name = var.generation == 1 ? local.name : "${local.name}-${var.generation}"
  network      = var.network == null ? one(module.network[*].network) : var.network
}

# The plan of a destroy is refused as a whole: without this, what is not protected (network, accounts, grants, the alert)
# would be gone before Google refuses the first bucket.
resource "terraform_data" "production_is_never_destroyed" {
  count = var.environment == "prod" ? 1 : 0

  lifecycle {
    prevent_destroy = true
  }
}

module "project" {
  source = "./modules/project"

  project_id = var.project_id
  audit_logs = var.audit_logs
  services = concat(
    [
      "artifactregistry.googleapis.com",
      "batch.googleapis.com",
      "bigquery.googleapis.com",
      "cloudresourcemanager.googleapis.com",
      "compute.googleapis.com",
      "iam.googleapis.com",
      "iamcredentials.googleapis.com",
      "logging.googleapis.com",
      "monitoring.googleapis.com",
      "secretmanager.googleapis.com",
      "storage.googleapis.com",
      "sts.googleapis.com",
    ],
    var.budget == null ? [] : ["billingbudgets.googleapis.com"],
    var.customer_managed_key ? ["cloudkms.googleapis.com"] : [],
    var.kestra_home == null ? [] : ["iap.googleapis.com"],
  )
}

module "encryption" {
  source = "./modules/encryption"
  count  = var.customer_managed_key ? 1 : 0

  name                = local.lasting_name
  project_id          = module.project.project_id
  project_number      = module.project.number
  location            = var.location
  region              = var.region
  disks               = var.kestra_home != null
  deletion_protection = var.deletion_protection
}

# --- who acts -------------------------------------------------------------------------------------------------------

module "container" {
  source = "./modules/service_account"

  project_id   = module.project.project_id
  account_id   = "${local.name}-container"
  display_name = "Rick and Morty: the pipeline's container"
  description  = "Runs meltano in a Batch container: extracts, loads, transforms."
  project_roles = [
    "roles/batch.agentReporter",
    "roles/bigquery.jobUser",
    "roles/logging.logWriter",
  ]
  iam = {
    kestra-submits = { role = "roles/iam.serviceAccountUser", member = module.kestra.member }
  }
}

module "kestra" {
  source = "./modules/service_account"

  project_id   = module.project.project_id
  account_id   = "${local.name}-kestra"
  display_name = "Rick and Morty: Kestra"
  description  = "Submits Batch jobs, reads their logs and results; sees no data."
  project_roles = concat(
    [
      "roles/batch.jobsEditor",
      "roles/logging.viewer",
    ],
    var.kestra_home == null ? [] : ["roles/logging.logWriter"],
  )
  iam = {
    for principal in var.kestra_principals : principal => { role = "roles/iam.workloadIdentityUser", member = principal }
  }
}

module "github" {
  source = "./modules/github_federation"
  count  = var.github == null ? 0 : 1

  project_id          = module.project.project_id
  pool_id             = "${local.lasting_name}-github"
  owner_id            = var.github.owner_id
  repository_id       = var.github.repository_id
  branch              = var.github.branch
  deletion_protection = var.deletion_protection
}

module "ci" {
  source = "./modules/service_account"
  count  = var.github == null ? 0 : 1

  project_id    = module.project.project_id
  account_id    = "${local.name}-ci"
  display_name  = "Rick and Morty: CI on the main branch"
  description   = "Pushes images and deploys flows; only workflows of one branch of one repository act as it."
  project_roles = []
  iam = {
    main-branch = { role = "roles/iam.workloadIdentityUser", member = module.github[0].branch_member }
  }
}

module "plan" {
  source = "./modules/service_account"
  count  = try(var.github.plan, false) ? 1 : 0

  project_id    = module.project.project_id
  account_id    = "${local.name}-plan"
  display_name  = "Rick and Morty: plans of pull requests"
  description   = "Reads the project's settings for terraform plan; changes nothing."
  project_roles = ["roles/iam.securityReviewer", "roles/serviceusage.serviceUsageConsumer", "roles/viewer"]
  iam = {
    any-ref = { role = "roles/iam.workloadIdentityUser", member = module.github[0].repository_member }
  }
}

resource "google_storage_bucket_iam_member" "plan_reads_state" {
  count = length(module.plan)

  bucket = var.state_bucket
  role   = "roles/storage.objectViewer"
  member = module.plan[0].member
}

# --- where data lives -----------------------------------------------------------------------------------------------

# Of configurations applied before these were optional.
moved {
  from = module.landing_tables
  to   = module.landing_tables[0]
}

moved {
  from = module.network
  to   = module.network[0]
}

module "landing_bucket" {
  source = "./modules/bucket"

  project_id        = module.project.project_id
  name              = "${var.project_id}-${local.name}-landing"
  location          = var.location
  kms_key           = local.data_key
  delete_after_days = var.landing_parts_days
  # Parts, and what the target and the jobs note beside them. Not Meltano's state: a pipeline that rests for so long goes on where it was.
  delete              = [{ suffixes = [".jsonl.gz"] }, { prefixes = ["_"] }]
  versioning          = var.landing_versioning
  deletion_protection = var.deletion_protection
  # No permission to delete or replace: a part, once there, stays until the lifecycle rule takes it.
  iam = {
    container-adds  = { role = "roles/storage.objectCreator", member = module.container.member }
    container-reads = { role = "roles/storage.objectViewer", member = module.container.member }
    # Meltano replaces a state file at each run, and its lock; a job that is run again replaces its result.
    container-state   = { role = "roles/storage.objectUser", member = module.container.member, folder = "meltano-state" }
    container-results = { role = "roles/storage.objectUser", member = module.container.member, folder = "_results" }
    # The figures of a job whose log cannot be read.
    kestra-results = { role = "roles/storage.objectViewer", member = module.kestra.member, folder = "_results" }
  }
}

# Of configurations applied when Kestra's task runner had a bucket of its own: it is left alone.
removed {
  from = module.work_bucket

  lifecycle {
    destroy = false
  }
}

# In prod the loader makes and drops no table: what Google's page on load jobs asks for, without create and delete.
resource "google_project_iam_custom_role" "landing_writer" {
  count = local.loader_makes_tables ? 0 : 1

  project     = module.project.project_id
  role_id     = "${local.app}_landing_writer"
  title       = "Rick and Morty: writes landing tables"
  description = "Appends to tables that are there; makes and drops none."
  permissions = [
    "bigquery.datasets.get",
    "bigquery.tables.get",
    "bigquery.tables.getData",
    "bigquery.tables.list",
    "bigquery.tables.update",
    "bigquery.tables.updateData",
  ]
}

locals {
  loader_makes_tables = var.environment != "prod"
  container_in = {
    landing   = local.loader_makes_tables ? "roles/bigquery.dataEditor" : one(google_project_iam_custom_role.landing_writer[*].name)
    staging   = "roles/bigquery.dataEditor"
    marts     = "roles/bigquery.dataEditor"
    snapshots = "roles/bigquery.dataEditor"
  }
  dataset_descriptions = {
    landing   = "Whole extractions as the API gave them, append only, and the ledger _loads."
    staging   = "Views by dbt: the newest whole version of each entity, cleaned."
    marts     = "Tables by dbt for people and reports."
    snapshots = "How records changed over time, by dbt."
  }
  marts_readers = { for member in var.marts_readers : member => { role = "roles/bigquery.dataViewer", member = member } }
}

module "dataset" {
  source   = "./modules/dataset"
  for_each = local.dataset_descriptions

  project_id          = module.project.project_id
  dataset_id          = "${local.dataset_prefix}${local.app}_${each.key}"
  description         = each.value
  location            = var.location
  labels              = { layer = each.key }
  kms_key             = local.data_key
  deletion_protection = var.deletion_protection
  # Where the loader makes the tables, the dataset says how long their days stay.
  rows_days = each.key == "landing" && local.loader_makes_tables ? var.landing_rows_days : null
  iam = merge(
    { container = { role = local.container_in[each.key], member = module.container.member } },
    each.key == "marts" ? local.marts_readers : {},
  )
}

# The landing tables have one owner: Terraform in prod, the loader elsewhere. Both would undo each other's columns.
# One table per file that `make docs` writes (scripts/landing_schemas.py).
resource "google_bigquery_table" "landing" {
  for_each = {
    for file in fileset("${path.module}/schemas", "*.json") :
    trimsuffix(file, ".json") => jsondecode(file("${path.module}/schemas/${file}")) if !local.loader_makes_tables
  }

  project             = module.project.project_id
  dataset_id          = module.dataset["landing"].dataset_id
  table_id            = each.key
  description         = each.value.description
  schema              = jsonencode(each.value.fields)
  clustering          = length(each.value.clustered_by) > 0 ? each.value.clustered_by : null
  deletion_protection = var.deletion_protection

  dynamic "time_partitioning" {
    for_each = each.value.partitioned_by[*]
    content {
      type          = "DAY"
      field         = time_partitioning.value
      expiration_ms = var.landing_rows_days == null ? null : var.landing_rows_days * 86400000
    }
  }

  dynamic "encryption_configuration" {
    for_each = local.data_key[*]
    content {
      kms_key_name = encryption_configuration.value
    }
  }
}

moved {
  from = module.landing_tables[0].google_bigquery_table.this
  to   = google_bigquery_table.landing
}

# --- where it runs --------------------------------------------------------------------------------------------------

module "images" {
  source = "./modules/image_registry"

  project_id          = module.project.project_id
  repository_id       = local.name
  region              = var.region
  kms_key             = local.regional_key
  deletion_protection = var.deletion_protection
  iam = merge(
    { container-pulls = { role = "roles/artifactregistry.reader", member = module.container.member } },
    { for account in module.ci : "ci-pushes" => { role = "roles/artifactregistry.writer", member = account.member } },
  )
}

module "network" {
  source = "./modules/batch_network"
  count  = var.network == null ? 1 : 0

  project_id = module.project.project_id
  name       = local.name
  region     = var.region
}

module "alert_webhook" {
  source = "./modules/secret"

  project_id          = module.project.project_id
  secret_id           = "${local.name}-alert-webhook"
  region              = var.region
  kms_key             = local.regional_key
  deletion_protection = var.deletion_protection
  readers             = { kestra = module.kestra.member }
}

module "kestra_api_token" {
  source = "./modules/secret"

  project_id          = module.project.project_id
  secret_id           = "${local.name}-kestra-api-token"
  region              = var.region
  kms_key             = local.regional_key
  deletion_protection = var.deletion_protection
  readers             = { for account in module.ci : "ci" => account.member }
}

module "kestra_home" {
  source = "./modules/kestra_home"
  count  = var.kestra_home == null ? 0 : 1

  project_id          = module.project.project_id
  name                = local.name
  region              = var.region
  zone                = coalesce(var.kestra_home.zone, "${var.region}-b")
  machine_type        = var.kestra_home.machine_type
  network             = local.network.network
  subnetwork          = local.network.subnetwork
  service_account     = module.kestra.email
  alert_webhook       = module.alert_webhook.secret_id
  kestra_image        = var.kestra_home.kestra_image
  postgres_image      = var.kestra_home.postgres_image
  users               = var.kestra_home.users
  kms_key             = local.regional_key
  deletion_protection = var.deletion_protection
}

# --- who is notified -------------------------------------------------------------------------------------------------

module "failure_alert" {
  source = "./modules/failure_alert"

  project_id = module.project.project_id
  name       = local.name
  emails     = var.alert_emails
}

# E-mail when the project costs more than planned. It stops nothing.
resource "google_billing_budget" "this" {
  count = var.budget == null ? 0 : 1

  billing_account = var.budget.billing_account
  display_name    = local.name

  budget_filter {
    projects        = ["projects/${module.project.number}"]
    calendar_period = "MONTH"
  }

  amount {
    specified_amount {
      units = tostring(var.budget.monthly_amount)
    }
  }

  dynamic "threshold_rules" {
    for_each = [0.5, 0.9, 1]
    content {
      threshold_percent = threshold_rules.value
      spend_basis       = "CURRENT_SPEND"
    }
  }

  threshold_rules {
    threshold_percent = 1
    spend_basis       = "FORECASTED_SPEND"
  }

  # The billing account's administrators besides; a budget takes the first five.
  all_updates_rule {
    monitoring_notification_channels = slice(module.failure_alert.notification_channels, 0, min(5, length(module.failure_alert.notification_channels)))
    disable_default_iam_recipients   = false
  }
}

moved {
  from = module.budget[0].google_billing_budget.this
  to   = google_billing_budget.this[0]
}
