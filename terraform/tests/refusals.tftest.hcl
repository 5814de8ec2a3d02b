# What is refused before anything is made.

mock_provider "google" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  environment  = "dev"
  project_id   = "example-project"
  alert_emails = ["data@example.com"]
}

run "deletion_in_dev_is_allowed" {
  command = plan

  variables {
    deletion_protection = false
  }
}

run "project_wide_editor" {
  command = plan

  module {
    source = "./modules/service_account"
  }

  variables {
    account_id    = "somebody"
    display_name  = "Somebody"
    description   = "Somebody."
    iam           = {}
    project_roles = ["roles/editor"]
  }

  expect_failures = [var.project_roles]
}

# One plan refuses many things at once: each variable breaks one rule, and each must be refused. A rule that reads
# another variable is not asked while that one is refused, so that such pairs are in different plans.

run "malformed_values" {
  command = plan

  variables {
    environment        = "local"
    project_id         = "My Project"
    location           = "Europe"
    github             = { owner_id = "1234567", repository_id = "" }
    budget             = { billing_account = "my account" }
    marts_readers      = ["allUsers"]
    kestra_principals  = ["allAuthenticatedUsers"]
    landing_parts_days = 1
    landing_rows_days  = 1
  }

  expect_failures = [
    var.budget, var.environment, var.github, var.kestra_principals,
    var.landing_parts_days, var.landing_rows_days, var.location, var.marts_readers, var.project_id,
  ]
}

run "deletion_in_prod_and_a_repository_by_name" {
  command = plan

  variables {
    environment         = "prod"
    deletion_protection = false
    region              = "europe-west1-b"
    github              = { owner_id = "1234567", repository_id = "someone/something" }
    budget              = { billing_account = "012345-6789AB-CDEF01", monthly_amount = 0 }
    landing_parts_days  = 7.5
  }

  expect_failures = [var.budget, var.deletion_protection, var.github, var.landing_parts_days, var.region]
}

run "another_continent_and_no_owner" {
  command = plan

  variables {
    region = "us-central1"
    github = { owner_id = "", repository_id = "123456789" }
  }

  expect_failures = [var.github, var.region]
}

run "everybody_in_kestra" {
  command = plan

  variables {
    kestra_home = { users = ["allUsers"] }
  }

  expect_failures = [var.kestra_home]
}

run "zone_of_another_region" {
  command = plan

  variables {
    kestra_home = { users = ["group:data@example.com"], zone = "europe-west10-a" }
  }

  expect_failures = [var.kestra_home]
}

run "region_beside_a_single_location_and_any_branch" {
  command = plan

  variables {
    alert_emails = ["nobody"]
    location     = "europe-west3"
    github       = { owner_id = "1234567", repository_id = "123456789", branch = "*" }
  }

  expect_failures = [var.alert_emails, var.github, var.region]
}

run "location_in_lower_case_and_plan_without_state" {
  command = plan

  variables {
    location = "eu"
    github   = { owner_id = "1234567", repository_id = "123456789", plan = true }
  }

  expect_failures = [var.location, var.state_bucket]
}

run "network_by_its_name_and_half_a_generation" {
  command = plan

  variables {
    network    = { network = "default", subnetwork = "projects/example-project/regions/us-central1/subnetworks/batch" }
    generation = 1.5
  }

  expect_failures = [var.generation, var.network]
}

run "kestras_home_in_another_projects_network" {
  command = plan

  variables {
    kestra_home = { users = ["group:data@example.com"] }
    network = {
      network    = "projects/network-project/global/networks/shared"
      subnetwork = "projects/network-project/regions/europe-west1/subnetworks/batch"
    }
  }

  expect_failures = [var.network]
}

run "values_of_another_form" {
  command = plan

  variables {
    alert_emails       = [for number in range(17) : "data${number}@example.com"]
    marts_readers      = ["user:somebody"]
    kestra_principals  = ["serviceAccount:kestra"]
    state_bucket       = "gs://example-state"
    landing_parts_days = 1000000
    landing_rows_days  = 1000000
    kestra_home        = { users = ["group:data@example.com"], kestra_image = "kestra/kestra:v2.0.0 --privileged" }
  }

  expect_failures = [
    var.alert_emails, var.kestra_home, var.kestra_principals, var.landing_parts_days, var.landing_rows_days,
    var.marts_readers, var.state_bucket,
  ]
}

run "everybody_by_another_name_and_nobody_to_hear_of_a_failure" {
  command = plan

  variables {
    environment   = "prod"
    alert_emails  = []
    marts_readers = ["principalSet://goog/public:all"]
    state_bucket  = ""
    kestra_home   = { users = null }
  }

  expect_failures = [var.alert_emails, var.kestra_home, var.marts_readers, var.state_bucket]
}

run "images_by_tag_in_prod" {
  command = plan

  variables {
    environment = "prod"
    kestra_home = { users = ["group:data@example.com"] }
  }

  expect_failures = [var.kestra_home]
}
