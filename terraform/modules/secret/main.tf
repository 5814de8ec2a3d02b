# A secret's place and its readers. Its value never passes through Terraform: `gcloud secrets versions add` puts it there.

resource "google_secret_manager_secret" "this" {
  project             = var.project_id
  secret_id           = var.secret_id
  deletion_protection = var.deletion_protection
  version_destroy_ttl = "604800s" # a destroyed version can be brought back for 7 days

  replication {
    user_managed {
      replicas {
        location = var.region

        dynamic "customer_managed_encryption" {
          for_each = var.kms_key[*]
          content {
            kms_key_name = customer_managed_encryption.value
          }
        }
      }
    }
  }
}

resource "google_secret_manager_secret_iam_member" "this" {
  for_each = var.readers

  project   = var.project_id
  secret_id = google_secret_manager_secret.this.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = each.value
}
