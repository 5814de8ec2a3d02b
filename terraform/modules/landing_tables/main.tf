# The landing tables and the ledger, from the files that `make docs` writes (scripts/landing_schemas.py): one table per file.

locals {
  tables = {
    for file in fileset(var.schemas, "*.json") : trimsuffix(file, ".json") => jsondecode(file("${var.schemas}/${file}"))
  }
}

resource "google_bigquery_table" "this" {
  for_each = local.tables

  project             = var.project_id
  dataset_id          = var.dataset_id
  table_id            = each.key
  description         = each.value.description
  schema              = jsonencode(each.value.fields)
  clustering          = length(each.value.clustered_by) > 0 ? each.value.clustered_by : null
  deletion_protection = var.deletion_protection

  dynamic "time_partitioning" {
    for_each = each.value.partitioned_by[*]
    content {
      type          = "DAY"
      field         = time_partitioning.value
      expiration_ms = var.rows_days == null ? null : var.rows_days * 86400000
    }
  }

  dynamic "encryption_configuration" {
    for_each = var.kms_key[*]
    content {
      kms_key_name = encryption_configuration.value
    }
  }
}
