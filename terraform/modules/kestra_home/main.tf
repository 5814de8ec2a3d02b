# A small home for open-source Kestra: one machine without an address, Kestra and PostgreSQL in containers on it, their
# data on a disk of its own, saved every night. People reach it through Identity-Aware Proxy.

resource "google_compute_resource_policy" "nightly" {
  project = var.project_id
  name    = "${var.name}-kestra-nightly"
  region  = var.region

  snapshot_schedule_policy {
    schedule {
      daily_schedule {
        days_in_cycle = 1
        start_time    = "03:00"
      }
    }

    retention_policy {
      max_retention_days    = 14
      on_source_disk_delete = "KEEP_AUTO_SNAPSHOTS"
    }
  }
}

resource "google_compute_disk" "data" {
  # checkov:skip=CKV_GCP_37:encrypted with Google's key, or with the project's own where customer_managed_key says so; a key handed over in plain text is worse
  project         = var.project_id
  name            = "${var.name}-kestra-data"
  description     = "PostgreSQL's and Kestra's data."
  zone            = var.zone
  type            = "pd-balanced"
  size            = 20
  deletion_policy = var.deletion_protection ? "PREVENT" : "DELETE"

  dynamic "disk_encryption_key" {
    for_each = var.kms_key[*]
    content {
      kms_key_self_link = disk_encryption_key.value
    }
  }
}

resource "google_compute_disk_resource_policy_attachment" "nightly" {
  project = var.project_id
  name    = google_compute_resource_policy.nightly.name
  disk    = google_compute_disk.data.name
  zone    = var.zone
}

resource "google_compute_instance" "this" {
  # checkov:skip=CKV_GCP_38:as for the data disk; the system's disk holds nothing but the system
  project                   = var.project_id
  name                      = "${var.name}-kestra"
  description               = "Open-source Kestra and its PostgreSQL."
  zone                      = var.zone
  machine_type              = var.machine_type
  deletion_protection       = var.deletion_protection
  allow_stopping_for_update = true

  boot_disk {
    kms_key_self_link = var.kms_key

    initialize_params {
      image = "cos-cloud/cos-stable"
      size  = 20
      type  = "pd-balanced"
    }
  }

  attached_disk {
    source      = google_compute_disk.data.id
    device_name = "data"
  }

  # No access_config: no address of its own.
  network_interface {
    subnetwork = var.subnetwork
  }

  service_account {
    email  = var.service_account
    scopes = ["cloud-platform"]
  }

  shielded_instance_config {
    enable_secure_boot          = true
    enable_vtpm                 = true
    enable_integrity_monitoring = true
  }

  metadata = {
    block-project-ssh-keys = "true"
    enable-oslogin         = "true"
    google-logging-enabled = "true"
    user-data = templatefile("${path.module}/cloud-init.yaml.tftpl", {
      kestra_image   = var.kestra_image
      postgres_image = var.postgres_image
      project_id     = var.project_id
      alert_webhook  = var.alert_webhook
    })
  }
}

resource "google_compute_firewall" "identity_aware_proxy_in" {
  project                 = var.project_id
  name                    = "${var.name}-kestra-proxy-in"
  description             = "Identity-Aware Proxy, which authenticates people, reaches Kestra and the shell."
  network                 = var.network
  direction               = "INGRESS"
  priority                = 900
  source_ranges           = ["35.235.240.0/20"]
  target_service_accounts = [var.service_account]

  allow {
    protocol = "tcp"
    ports    = ["22", "8080"]
  }

  log_config {
    metadata = "INCLUDE_ALL_METADATA"
  }
}

resource "google_iap_tunnel_instance_iam_member" "users" {
  for_each = var.users

  project  = var.project_id
  zone     = var.zone
  instance = google_compute_instance.this.name
  role     = "roles/iap.tunnelResourceAccessor"
  member   = each.value
}
