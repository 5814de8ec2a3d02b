# Where the pipeline's images are, and who pushes and pulls them.

resource "google_artifact_registry_repository" "this" {
  project                = var.project_id
  location               = var.region
  repository_id          = var.repository_id
  description            = "Images of the pipeline; deployed by digest."
  format                 = "DOCKER"
  kms_key_name           = var.kms_key
  cleanup_policy_dry_run = false
  deletion_policy        = var.deletion_protection ? "PREVENT" : "DELETE"

  # A tag, once pushed, never means another image.
  docker_config {
    immutable_tags = true
  }

  # A version is a manifest, and an image has seven: its index, two per platform (what runs, and what it was built from), and two of the
  # signed provenance. All but the index are untagged: what is deleted for having no tag leaves an image that cannot be pulled.
  cleanup_policies {
    id     = "keep-newest"
    action = "KEEP"
    most_recent_versions {
      keep_count = 10 * 7
    }
  }

  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"
    condition {
      tag_state  = "ANY"
      older_than = "15552000s" # 180 days
    }
  }
}

resource "google_artifact_registry_repository_iam_member" "this" {
  for_each = var.iam

  project    = var.project_id
  location   = google_artifact_registry_repository.this.location
  repository = google_artifact_registry_repository.this.repository_id
  role       = each.value.role
  member     = each.value.member
}
