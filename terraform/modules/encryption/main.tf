# Keys for what is stored: one where data lives, one where containers run (the same where these are one place).

locals {
  # Cloud KMS calls the multi-regions us and europe.
  data_location = var.location == "EU" ? "europe" : lower(var.location)
  locations     = toset([local.data_location, var.region])
  protected     = var.deletion_protection ? "PREVENT" : "DELETE"

  disks_agent    = "serviceAccount:service-${var.project_number}@compute-system.iam.gserviceaccount.com"
  registry_agent = "serviceAccount:service-${var.project_number}@gcp-sa-artifactregistry.iam.gserviceaccount.com"
  secrets_agent  = "serviceAccount:service-${var.project_number}@gcp-sa-secretmanager.iam.gserviceaccount.com"
}

resource "google_kms_key_ring" "this" {
  for_each = local.locations

  project  = var.project_id
  name     = var.name
  location = each.value
}

resource "google_kms_crypto_key" "this" {
  # checkov:skip=CKV_GCP_82:deletion_policy is PREVENT unless deletion_protection is off, which prod refuses; prevent_destroy takes no variable
  for_each = google_kms_key_ring.this

  name            = var.name
  key_ring        = each.value.id
  rotation_period = "7776000s" # 90 days
  deletion_policy = local.protected
}

data "google_storage_project_service_account" "this" {
  project = var.project_id
}

data "google_bigquery_default_service_account" "this" {
  project = var.project_id
}

# Only the services encrypt and decrypt.
resource "google_kms_crypto_key_iam_member" "this" {
  for_each = merge(
    {
      bigquery = { location = local.data_location, member = data.google_bigquery_default_service_account.this.member }
      storage  = { location = local.data_location, member = data.google_storage_project_service_account.this.member }
      registry = { location = var.region, member = local.registry_agent }
      secrets  = { location = var.region, member = local.secrets_agent }
    },
    var.disks ? { disks = { location = var.region, member = local.disks_agent } } : {},
  )

  crypto_key_id = google_kms_crypto_key.this[each.value.location].id
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = each.value.member
}
