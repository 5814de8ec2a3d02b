output "open" {
  description = "The command that brings Kestra to http://localhost:8080."
  value       = "gcloud compute start-iap-tunnel ${google_compute_instance.this.name} 8080 --local-host-port=localhost:8080 --zone=${var.zone} --project=${var.project_id}"
}

output "permissions" {
  description = "The permissions made here, as text."
  value       = [for grant in google_iap_tunnel_instance_iam_member.users : "machine ${grant.instance}: ${grant.role} for ${grant.member}"]
}
