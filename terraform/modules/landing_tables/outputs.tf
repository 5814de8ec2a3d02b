output "tables" {
  description = "Table ids, dataset included, by table."
  value       = { for name, table in google_bigquery_table.this : name => "${table.dataset_id}.${table.table_id}" }
}
