# Tells people when a job does not end well: by its own exit status, whoever started it, and where Batch's agent could not run it.
# What ends without a word of either (no machine was to be had, the machine was lost for good) Kestra tells, which reads Batch's
# state: set its alert up too (README.md).

locals {
  logs = "projects/${var.project_id}/logs"
}

resource "google_monitoring_notification_channel" "email" {
  for_each = var.emails

  project      = var.project_id
  display_name = "${var.name}: ${each.value}"
  type         = "email"
  labels       = { email_address = each.value }
}

resource "google_monitoring_alert_policy" "failed_run" {
  project               = var.project_id
  display_name          = "${var.name}: a run failed"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = [for channel in google_monitoring_notification_channel.email : channel.id]

  conditions {
    display_name = "A job ended with a status other than 0, or Batch's agent could not run it"

    condition_matched_log {
      # meltano-job's last word (orchestrate/meltano-job): one JSON object, which Batch keeps as data, or as the text that it is.
      filter = <<-FILTER
        (logName="${local.logs}/batch_task_logs" AND (jsonPayload.exit_status>0 OR textPayload=~"^\\{\"severity\":\"ERROR\",.*\"exit_status\":[1-9]"))
        OR (logName="${local.logs}/batch_agent_logs" AND severity>=ERROR)
      FILTER
      label_extractors = {
        job     = "EXTRACT(labels.job)"
        job_uid = "EXTRACT(labels.job_uid)"
        run_id  = "EXTRACT(labels.run_id)"
      }
    }
  }

  alert_strategy {
    auto_close           = "86400s"
    notification_prompts = ["OPENED"]

    notification_rate_limit {
      period = "3600s"
    }
  }

  documentation {
    mime_type = "text/markdown"
    subject   = "${var.name}: a run failed"
    content   = <<-TEXT
      Job **$${log.extracted_label.job}** of run $${log.extracted_label.run_id} did not end well.

      1. Read why: Cloud Logging, `labels.job_uid="$${log.extracted_label.job_uid}"`. The last lines of level ERROR name what failed, what was expected and what to do.
      2. What it means for the data:
         - `character`, `episode`, `location`: nothing of this run has landed in part; tables and marts are as they were.
         - `dbt`: what was built before the model or test that failed is new, what depends on it is as it was. A failed verdict stops before the marts: all of them are as they were.
      3. Then restart the execution in Kestra: it runs again what failed, with the same run id, which never loads twice. Status 124 is the time limit, 137 most often memory, 143 a stop from outside, 2 a setting.

      Symptoms and remedies: docs/operations.md, Runbook.
    TEXT
  }
}
