# What Google computes, as the tests need it: the rest is made up by terraform test.

mock_resource "google_service_account" {
  defaults = {
    name = "projects/example-project/serviceAccounts/rickandmorty-account@example-project.iam.gserviceaccount.com"
  }
}

mock_resource "google_iam_workload_identity_pool" {
  defaults = {
    name = "projects/424242/locations/global/workloadIdentityPools/rickandmorty-github"
  }
}

mock_resource "google_iam_workload_identity_pool_provider" {
  defaults = {
    name = "projects/424242/locations/global/workloadIdentityPools/rickandmorty-github/providers/github"
  }
}

mock_resource "google_project_iam_custom_role" {
  defaults = {
    name = "projects/example-project/roles/rickandmorty_landing_writer"
  }
}

mock_data "google_project" {
  defaults = {
    number = "424242"
  }
}

mock_data "google_storage_project_service_account" {
  defaults = {
    member = "serviceAccount:service-424242@gs-project-accounts.iam.gserviceaccount.com"
  }
}

mock_data "google_bigquery_default_service_account" {
  defaults = {
    member = "serviceAccount:bq-424242@bigquery-encryption.iam.gserviceaccount.com"
  }
}

mock_resource "google_compute_disk" {
  defaults = {
    id = "projects/example-project/zones/europe-west1-b/disks/rickandmorty-kestra-data"
  }
}

mock_resource "google_compute_network" {
  defaults = {
    id = "projects/example-project/global/networks/rickandmorty-batch"
  }
}

mock_resource "google_compute_subnetwork" {
  defaults = {
    id = "projects/example-project/regions/europe-west1/subnetworks/rickandmorty-batch"
  }
}

mock_resource "google_kms_key_ring" {
  defaults = {
    id = "projects/example-project/locations/europe/keyRings/rickandmorty"
  }
}

mock_resource "google_kms_crypto_key" {
  defaults = {
    id = "projects/example-project/locations/europe/keyRings/rickandmorty/cryptoKeys/rickandmorty"
  }
}

mock_resource "google_monitoring_notification_channel" {
  defaults = {
    id   = "projects/example-project/notificationChannels/1234567890123456789"
    name = "projects/example-project/notificationChannels/1234567890123456789"
  }
}
