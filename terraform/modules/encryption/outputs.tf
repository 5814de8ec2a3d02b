output "data_key" {
  description = "The key for buckets and datasets, once the services may use it."
  value       = google_kms_crypto_key.this[local.data_location].id
  depends_on  = [google_kms_crypto_key_iam_member.this]
}

output "permissions" {
  description = "The permissions made here, as text."
  value       = [for name, grant in google_kms_crypto_key_iam_member.this : "key for ${name}: ${grant.role} for ${grant.member}"]
}

output "regional_key" {
  description = "The key for images and secrets, once the services may use it."
  value       = google_kms_crypto_key.this[var.region].id
  depends_on  = [google_kms_crypto_key_iam_member.this]
}
