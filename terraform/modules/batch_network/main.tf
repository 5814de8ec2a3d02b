# The network of Batch machines: no address of their own, no ingress, only HTTPS as egress.

resource "google_compute_network" "this" {
  project                 = var.project_id
  name                    = "${var.name}-batch"
  description             = "Batch machines of the pipeline."
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "this" {
  # checkov:skip=CKV_GCP_76:the network has no IPv6
  project                  = var.project_id
  name                     = "${var.name}-batch"
  region                   = var.region
  network                  = google_compute_network.this.id
  ip_cidr_range            = "10.90.0.0/24" # a run needs one address per container
  private_ip_google_access = true

  log_config {
    aggregation_interval = "INTERVAL_10_MIN"
    flow_sampling        = 0.5
    metadata             = "INCLUDE_ALL_METADATA"
  }
}

resource "google_compute_firewall" "nothing_in" {
  project       = var.project_id
  name          = "${var.name}-batch-nothing-in"
  description   = "No ingress."
  network       = google_compute_network.this.id
  direction     = "INGRESS"
  priority      = 1000
  source_ranges = ["0.0.0.0/0"]

  deny {
    protocol = "all"
  }

  log_config {
    metadata = "EXCLUDE_ALL_METADATA"
  }
}

resource "google_compute_firewall" "https_out" {
  project            = var.project_id
  name               = "${var.name}-batch-https-out"
  description        = "HTTPS to Google and to the API; its addresses change, so a narrower range would not last."
  network            = google_compute_network.this.id
  direction          = "EGRESS"
  priority           = 1000
  destination_ranges = ["0.0.0.0/0"]

  allow {
    protocol = "tcp"
    ports    = ["443"]
  }
}

resource "google_compute_firewall" "nothing_else_out" {
  project            = var.project_id
  name               = "${var.name}-batch-nothing-else-out"
  description        = "No other egress; the machine's own metadata and name server is always reachable."
  network            = google_compute_network.this.id
  direction          = "EGRESS"
  priority           = 65534
  destination_ranges = ["0.0.0.0/0"]

  deny {
    protocol = "all"
  }

  log_config {
    metadata = "EXCLUDE_ALL_METADATA"
  }
}

resource "google_compute_router" "this" {
  project = var.project_id
  name    = "${var.name}-batch"
  region  = var.region
  network = google_compute_network.this.id
}

resource "google_compute_router_nat" "this" {
  project                            = var.project_id
  name                               = "${var.name}-batch"
  router                             = google_compute_router.this.name
  region                             = var.region
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "LIST_OF_SUBNETWORKS"

  subnetwork {
    name                    = google_compute_subnetwork.this.id
    source_ip_ranges_to_nat = ["PRIMARY_IP_RANGE"]
  }

  log_config {
    enable = true
    filter = "ERRORS_ONLY"
  }
}
