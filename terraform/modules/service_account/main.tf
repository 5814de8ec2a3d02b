# A service account: what it may do in the project as a whole, and who may act as it. It never has a key.

resource "google_service_account" "this" {
  project      = var.project_id
  account_id   = var.account_id
  display_name = var.display_name
  description  = var.description
}

resource "google_project_iam_member" "this" {
  # checkov:skip=CKV_GCP_117:viewer goes to the plan account only, where it is asked for; owner and editor are refused
  for_each = toset(var.project_roles)

  project = var.project_id
  role    = each.value
  member  = "serviceAccount:${local.email}"

  depends_on = [google_service_account.this]
}

resource "google_service_account_iam_member" "this" {
  for_each = var.iam

  service_account_id = google_service_account.this.name
  role               = each.value.role
  member             = each.value.member
}
