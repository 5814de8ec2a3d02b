locals {
  # As Google forms it: a plan knows it before the account is there.
  email = "${var.account_id}@${var.project_id}.iam.gserviceaccount.com"
}

output "email" {
  description = "Its address."
  value       = local.email
  depends_on  = [google_service_account.this]
}

output "member" {
  description = "Its address as permissions name it."
  value       = "serviceAccount:${local.email}"
  depends_on  = [google_service_account.this]
}

output "permissions" {
  description = "The permissions made here, as text."
  value = concat(
    [for grant in google_project_iam_member.this : "project: ${grant.role} for ${grant.member}"],
    [for grant in google_service_account_iam_member.this : "account ${google_service_account.this.account_id}: ${grant.role} for ${grant.member}"],
  )
}
