output "dataset_id" {
  description = "The dataset's id, once its permissions are there."
  value       = google_bigquery_dataset.this.dataset_id
  depends_on  = [google_bigquery_dataset_iam_member.this]
}

output "permissions" {
  description = "The permissions made here, as text."
  value       = [for grant in google_bigquery_dataset_iam_member.this : "dataset ${grant.dataset_id}: ${grant.role} for ${grant.member}"]
}

output "rows_days" {
  description = "Days after which a day's rows leave, where a table says nothing itself."
  value       = try(google_bigquery_dataset.this.default_partition_expiration_ms / 86400000, null)
}
