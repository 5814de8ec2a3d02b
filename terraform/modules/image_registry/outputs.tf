output "address" {
  description = "What an image's name begins with, once its permissions are there."
  value       = "${var.region}-docker.pkg.dev/${var.project_id}/${google_artifact_registry_repository.this.repository_id}"
  depends_on  = [google_artifact_registry_repository_iam_member.this]
}

output "permissions" {
  description = "The permissions made here, as text."
  value       = [for grant in google_artifact_registry_repository_iam_member.this : "images ${grant.repository}: ${grant.role} for ${grant.member}"]
}
