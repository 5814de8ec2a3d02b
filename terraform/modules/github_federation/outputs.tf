locals {
  principals = "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.this.name}"
}

output "branch_member" {
  description = "Workflows of the branch that ships, as permissions name them."
  value       = "${local.principals}/attribute.repository_at/${var.repository_id}/refs/heads/${var.branch}"
}

output "provider" {
  description = "What google-github-actions/auth takes as workload_identity_provider."
  value       = google_iam_workload_identity_pool_provider.this.name
}

output "repository_member" {
  description = "Every workflow of the repository, pull requests too, as permissions name them."
  value       = "${local.principals}/attribute.repository_id/${var.repository_id}"
}
