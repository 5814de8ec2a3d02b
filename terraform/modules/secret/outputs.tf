output "permissions" {
  description = "The permissions made here, as text."
  value       = [for grant in google_secret_manager_secret_iam_member.this : "secret ${grant.secret_id}: ${grant.role} for ${grant.member}"]
}

output "secret_id" {
  description = "The secret's name, once its readers are there."
  value       = google_secret_manager_secret.this.secret_id
  depends_on  = [google_secret_manager_secret_iam_member.this]
}
