# Names, places and what the outputs say, as design and Meltano have them; what resources say is in planned.yml.

mock_provider "google" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  environment  = "prod"
  project_id   = "example-project"
  alert_emails = ["data@example.com"]
}

run "prod" {
  command = plan

  assert {
    condition = output.datasets == {
      landing   = "rickandmorty_landing"
      marts     = "rickandmorty_marts"
      snapshots = "rickandmorty_snapshots"
      staging   = "rickandmorty_staging"
    }
    error_message = "Production's datasets have no prefix: dbt and the target look for these names."
  }

  assert {
    condition = output.landing_tables == {
      _loads     = "rickandmorty_landing._loads"
      characters = "rickandmorty_landing.characters"
      episodes   = "rickandmorty_landing.episodes"
      locations  = "rickandmorty_landing.locations"
    }
    error_message = "There is one landing table a stream, and the ledger."
  }

  assert {
    condition = output.environment == {
      DBT_BIGQUERY_LOCATION     = "EU"
      GOOGLE_CLOUD_PROJECT      = "example-project"
      MELTANO_ENVIRONMENT       = "prod"
      MELTANO_STATE_BACKEND_URI = "gs://example-project-rickandmorty-landing/meltano-state"
      TARGET_BIGQUERY_BUCKET    = "example-project-rickandmorty-landing"
      TARGET_BIGQUERY_LOCATION  = "EU"
    }
    error_message = "The container's environment is what meltano.yml and the profile of dbt read."
  }

  assert {
    condition     = output.dotenv == "DBT_BIGQUERY_LOCATION=EU\nGOOGLE_CLOUD_PROJECT=example-project\nMELTANO_ENVIRONMENT=prod\nMELTANO_STATE_BACKEND_URI=gs://example-project-rickandmorty-landing/meltano-state\nTARGET_BIGQUERY_BUCKET=example-project-rickandmorty-landing\nTARGET_BIGQUERY_LOCATION=EU\n"
    error_message = "dotenv is the same, a line each."
  }

  assert {
    condition = output.kestra == {
      environment     = output.environment
      gcp_project     = "example-project"
      gcp_region      = "europe-west1"
      image           = "europe-west1-docker.pkg.dev/example-project/rickandmorty/pipeline"
      network         = "projects/example-project/global/networks/rickandmorty-batch"
      service_account = "rickandmorty-container@example-project.iam.gserviceaccount.com"
      subnetwork      = "projects/example-project/regions/europe-west1/subnetworks/rickandmorty-batch"
    }
    error_message = "Kestra is given the keys that the flows read, and everything that a Batch job is made of."
  }

  assert {
    condition     = output.github_variables == ""
    error_message = "Without github there is nothing to sign in with."
  }
}

run "dev_has_a_prefix" {
  command = plan

  variables {
    environment = "dev"
  }

  assert {
    condition = [output.datasets.landing, output.datasets.marts, output.environment.TARGET_BIGQUERY_BUCKET] == [
      "dev_rickandmorty_landing", "dev_rickandmorty_marts", "example-project-dev-rickandmorty-landing",
    ]
    error_message = "Outside production the names have the environment in them, datasets as DATASET_PREFIX in meltano.yml."
  }

  assert {
    condition     = length(google_bigquery_table.landing) == 0 && output.landing_tables == {} && length(google_project_iam_custom_role.landing_writer) == 0
    error_message = "Outside production the loader makes the landing tables, needs no role of ours, and Terraform has no say in their columns."
  }
}

run "dev_again_after_a_destroy" {
  command = plan

  variables {
    environment          = "dev"
    generation           = 2
    landing_rows_days    = 90
    customer_managed_key = true
    github               = { owner_id = "1234567", repository_id = "123456789" }
  }

  assert {
    condition     = output.environment.TARGET_BIGQUERY_BUCKET == "example-project-dev-rickandmorty-landing" && output.kestra_account == "dev-rickandmorty-kestra@example-project.iam.gserviceaccount.com"
    error_message = "What is free again keeps its name."
  }
}

run "existing_network" {
  command = plan

  variables {
    network = {
      network    = "projects/network-project/global/networks/shared"
      subnetwork = "projects/network-project/regions/europe-west1/subnetworks/batch"
    }
  }

  assert {
    condition     = length(module.network) == 0 && { network = output.kestra.network, subnetwork = output.kestra.subnetwork } == var.network
    error_message = "Kestra gets the network that is there; none is made, and no NAT is paid for."
  }
}
