# A dataset and who may do what in it.

resource "google_bigquery_dataset" "this" {
  project                         = var.project_id
  dataset_id                      = var.dataset_id
  description                     = var.description
  location                        = var.location
  labels                          = var.labels
  max_time_travel_hours           = "168"
  delete_contents_on_destroy      = !var.deletion_protection
  default_partition_expiration_ms = var.rows_days == null ? null : var.rows_days * 86400000
  deletion_policy                 = var.deletion_protection ? "PREVENT" : "DELETE"

  dynamic "default_encryption_configuration" {
    for_each = var.kms_key[*]
    content {
      kms_key_name = default_encryption_configuration.value
    }
  }
}

resource "google_bigquery_dataset_iam_member" "this" {
  for_each = var.iam

  project    = var.project_id
  dataset_id = google_bigquery_dataset.this.dataset_id
  role       = each.value.role
  member     = each.value.member
}
