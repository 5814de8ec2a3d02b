# GitHub's workflows sign in without a key: Google trusts GitHub's tokens for one repository, identified by its numbers.

resource "google_iam_workload_identity_pool" "this" {
  project                   = var.project_id
  workload_identity_pool_id = var.pool_id
  display_name              = "GitHub"
  description               = "Workflows of repository ${var.repository_id} of owner ${var.owner_id}."
  deletion_policy           = var.deletion_protection ? "PREVENT" : "DELETE"
}

resource "google_iam_workload_identity_pool_provider" "this" {
  # checkov:skip=CKV_GCP_125:the check knows names only; the condition holds the numbers of repository and owner, which cannot be taken over
  project                            = var.project_id
  workload_identity_pool_id          = google_iam_workload_identity_pool.this.workload_identity_pool_id
  workload_identity_pool_provider_id = "github"
  display_name                       = "GitHub Actions"
  attribute_condition                = "assertion.repository_id == '${var.repository_id}' && assertion.repository_owner_id == '${var.owner_id}'"
  attribute_mapping = {
    "google.subject"          = "assertion.sub"
    "attribute.repository_id" = "assertion.repository_id"
    "attribute.repository_at" = "assertion.repository_id + '/' + assertion.ref"
  }

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}
