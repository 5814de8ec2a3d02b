# E-mail when a job fails: by its own exit status, whatever started it, and when Batch's agent could not run it. A job that ends
# without a log line of either (no machine available, machine lost for good) is reported by Kestra's alert, which reads Batch's state:
# set that up too (README.md).

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
  enabled               = true
  severity              = "ERROR"
  notification_channels = [for channel in google_monitoring_notification_channel.email : channel.id]

  conditions {
    display_name = "A job ended with a status other than 0, or Batch's agent could not run it"

    condition_matched_log {
      # meltano-job's last line (orchestrate/meltano-job): one JSON object, which Batch logs as data or as text.
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
      Job **$${log.extracted_label.job}** of run $${log.extracted_label.run_id} failed.

      1. Read why: Cloud Logging, `labels.job_uid="$${log.extracted_label.job_uid}"`. The last lines of level ERROR name what failed, what was expected and what to do.
      2. What it means for the data:
         - `character`, `episode`, `location`: nothing of this run has landed in part; tables and marts are as they were.
         - `dbt`: models built before the failed model or test are new, those that depend on it are as they were. A failed verdict stops the build before the marts: all of them are as they were.
      3. Then restart the execution in Kestra: it runs what failed again, under the same run id, which never loads twice. Status 124 is the time limit, 137 usually memory, 143 a stop from outside, 2 a wrong setting.

      Symptoms and remedies: docs/operations.md, Runbook.
    TEXT
  }
}
