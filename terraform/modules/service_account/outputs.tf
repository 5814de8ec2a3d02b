output "email" {
  description = "Its address."
  value       = google_service_account.this.email
}

output "member" {
  description = "Its address as permissions name it."
  value       = google_service_account.this.member
}

output "permissions" {
  description = "The permissions made here, as text."
  value = concat(
    [for grant in google_project_iam_member.this : "project: ${grant.role} for ${grant.member}"],
    [for grant in google_service_account_iam_member.this : "account ${google_service_account.this.account_id}: ${grant.role} for ${grant.member}"],
  )
}
