terraform {
  required_providers {
    google = { source = "hashicorp/google" }
  }
}

# Tells people when a run fails: from the logs of the container itself, whoever started it.

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
    display_name = "Meltano ended with a failure, or Batch could not run it"

    condition_matched_log {
      # Meltano 4.4's last line of a run, as JSON and as text; Batch's agent where the container never came that far.
      filter = <<-FILTER
        (logName="${local.logs}/batch_task_logs" AND ((jsonPayload.event="Run completed" AND jsonPayload.status="failure") OR textPayload=~"Run completed.*failure"))
        OR (logName="${local.logs}/batch_agent_logs" AND severity>=ERROR)
      FILTER
      label_extractors = {
        job = "EXTRACT(labels.job_uid)"
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
      Batch job $${log.extracted_label.job} failed.
      The landing tables are as they were: nothing was loaded in part.
      Read the job's log in Cloud Logging (`labels.job_uid="$${log.extracted_label.job}"`): its last lines say what failed and what to do.
      Then restart the execution in Kestra: the same run id never loads twice.
    TEXT
  }
}
