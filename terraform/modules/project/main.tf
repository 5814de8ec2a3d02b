# The project itself: the services that are on, and what is logged of who touches data.

data "google_project" "this" {
  project_id = var.project_id
}

resource "google_project_service" "this" {
  for_each = toset(var.services)

  project            = var.project_id
  service            = each.value
  disable_on_destroy = false
}

# BigQuery's data access logs are always on.
resource "google_project_iam_audit_config" "this" {
  for_each = toset(var.audit_logs ? ["iam.googleapis.com", "secretmanager.googleapis.com", "storage.googleapis.com", "sts.googleapis.com"] : [])

  project = var.project_id
  service = each.value

  dynamic "audit_log_config" {
    for_each = toset(["ADMIN_READ", "DATA_READ", "DATA_WRITE"])
    content {
      log_type = audit_log_config.value
    }
  }
}
