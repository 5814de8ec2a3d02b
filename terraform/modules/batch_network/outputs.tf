output "network" {
  description = "The network and its subnetwork as a Batch job names them, once their rules are there."
  value = {
    network    = "projects/${var.project_id}/global/networks/${google_compute_network.this.name}"
    subnetwork = "projects/${var.project_id}/regions/${var.region}/subnetworks/${google_compute_subnetwork.this.name}"
  }
  depends_on = [
    google_compute_firewall.https_out,
    google_compute_firewall.nothing_else_out,
    google_compute_firewall.nothing_in,
    google_compute_router_nat.this,
  ]
}
