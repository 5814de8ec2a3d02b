output "name" {
  description = "The bucket's name, once its permissions are there."
  value       = google_storage_bucket.this.name
  depends_on  = [google_storage_bucket_iam_member.this]
}

output "permissions" {
  description = "The permissions made here, as text."
  value       = [for name, grant in google_storage_bucket_iam_member.this : "bucket ${grant.bucket}${try("/${coalesce(var.iam[name].folder)}", "")}: ${grant.role} for ${grant.member}"]
}
