# A private bucket, some of whose objects expire.

resource "google_storage_bucket" "this" {
  # checkov:skip=CKV_GCP_62:access is in the audit logs (google_project_iam_audit_config), the older access logs add nothing
  # checkov:skip=CKV_GCP_78:objects are written once and never replaced; soft delete covers a slip, versioning is an option
  project                     = var.project_id
  name                        = var.name
  location                    = var.location
  storage_class               = "STANDARD"
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.deletion_protection
  deletion_policy             = var.deletion_protection ? "PREVENT" : "DELETE"

  soft_delete_policy {
    retention_duration_seconds = 7 * 86400
  }

  versioning {
    enabled = var.versioning
  }

  # A condition has no "all but": each of these says by name what goes, and the rest stays.
  dynamic "lifecycle_rule" {
    for_each = var.delete
    content {
      condition {
        age            = var.delete_after_days
        matches_prefix = lifecycle_rule.value.prefixes
        matches_suffix = lifecycle_rule.value.suffixes
      }
      action {
        type = "Delete"
      }
    }
  }

  lifecycle_rule {
    condition {
      age = 1
    }
    action {
      type = "AbortIncompleteMultipartUpload"
    }
  }

  dynamic "lifecycle_rule" {
    for_each = var.versioning ? [30] : []
    content {
      condition {
        days_since_noncurrent_time = lifecycle_rule.value
        with_state                 = "ARCHIVED"
      }
      action {
        type = "Delete"
      }
    }
  }

  dynamic "encryption" {
    for_each = var.kms_key[*]
    content {
      default_kms_key_name = encryption.value
    }
  }
}

resource "google_storage_bucket_iam_member" "this" {
  for_each = var.iam

  bucket = google_storage_bucket.this.name
  role   = each.value.role
  member = each.value.member

  dynamic "condition" {
    for_each = each.value.folder[*]
    content {
      title      = "In ${condition.value} only"
      expression = "resource.name.startsWith(\"projects/_/buckets/${google_storage_bucket.this.name}/objects/${condition.value}/\")"
    }
  }
}
