output "dataset_id" {
  description = "The dataset's id, once its permissions are there."
  value       = google_bigquery_dataset.this.dataset_id
  depends_on  = [google_bigquery_dataset_iam_member.this]
}

output "permissions" {
  description = "The permissions made here, as text."
  value       = [for grant in google_bigquery_dataset_iam_member.this : "dataset ${grant.dataset_id}: ${grant.role} for ${grant.member}"]
}
