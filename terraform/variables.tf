# What a permission may be given to: https://cloud.google.com/iam/docs/principal-identifiers
locals {
  address   = "[^@[:space:]]+@[^@[:space:]]+[.][^@[:space:]]+"
  people    = "(group|user):${local.address}"
  account   = "serviceAccount:(${local.address}|[^@[:space:]]+[.]svc[.]id[.]goog\\[[^[:space:]]+/[^[:space:]]+\\])"
  federated = "principal(Set)?://[a-z]+[.]googleapis[.]com/[^[:space:]]+"
}

variable "alert_emails" {
  description = "E-mail addresses for alerts: a run failed; the budget is used up, of which the first five hear."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = length(var.alert_emails) <= 16 && alltrue([for address in var.alert_emails : can(regex("^${local.address}$", address))])
    error_message = "alert_emails must be e-mail addresses, such as data@example.com, 16 at most: a group has one address."
  }

  validation {
    condition     = var.environment != "prod" || length(var.alert_emails) > 0
    error_message = "alert_emails must have an address in prod: without one nobody hears of a failed run."
  }
}

variable "audit_logs" {
  description = "Log who reads and writes bucket objects, secrets and identities (BigQuery always does); false where the organization, or the other environment in the same project, sets it."
  type        = bool
  default     = true
  nullable    = false
}

variable "budget" {
  description = "Budget of the project in the billing account's currency; null for none. Needs the billing account's permission to make budgets."
  type = object({
    billing_account = string
    monthly_amount  = optional(number, 25)
  })
  default = null

  validation {
    condition     = var.budget == null || can(regex("^[0-9A-F]{6}(-[0-9A-F]{6}){2}$", var.budget.billing_account))
    error_message = "budget.billing_account must look like 012345-6789AB-CDEF01: `gcloud billing accounts list` shows it."
  }

  validation {
    condition     = var.budget == null || try(var.budget.monthly_amount >= 1 && floor(var.budget.monthly_amount) == var.budget.monthly_amount, false)
    error_message = "budget.monthly_amount must be a whole number of at least 1."
  }
}

variable "customer_managed_key" {
  description = "Encrypt bucket objects, datasets, images and secrets with keys of this project, rotated every 90 days, in place of Google's."
  type        = bool
  default     = false
  nullable    = false
}

variable "deletion_protection" {
  description = "Refuse to delete whatever holds data: buckets, datasets, tables, images, secrets, keys. False takes one apply before the destroy; never in prod."
  type        = bool
  default     = true
  nullable    = false

  validation {
    condition     = var.deletion_protection || var.environment != "prod"
    error_message = "deletion_protection cannot be false in prod: data there is deleted by hand, one resource at a time."
  }
}

variable "environment" {
  description = "The Meltano environment that runs on what is made here: dev or prod. Outside prod, names begin with it."
  type        = string
  nullable    = false

  validation {
    condition     = contains(["dev", "prod"], var.environment)
    error_message = "environment must be dev or prod; local needs no cloud (make run)."
  }
}

variable "generation" {
  description = "Raise it by one to make an environment again after a destroy: Google never frees the name of a key ring, and that of a federation pool for 30 days only."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.generation >= 1 && var.generation <= 99 && floor(var.generation) == var.generation
    error_message = "generation must be a whole number from 1 to 99."
  }
}

variable "github" {
  description = "The GitHub repository that ships to this project, by its numeric ids (names can be taken over by others, ids cannot); null for none. The plan account reads the project for plans of pull requests."
  type = object({
    owner_id      = string
    repository_id = string
    branch        = optional(string, "main")
    plan          = optional(bool, false)
  })
  default = null

  validation {
    condition     = var.github == null || can(regex("^[1-9][0-9]*$", var.github.repository_id))
    error_message = "github.repository_id must be the repository's number, never empty: `gh api repos/OWNER/NAME --jq .id` shows it."
  }

  validation {
    condition     = var.github == null || can(regex("^[1-9][0-9]*$", var.github.owner_id))
    error_message = "github.owner_id must be the owner's number, never empty: `gh api repos/OWNER/NAME --jq .owner.id` shows it."
  }

  validation {
    condition     = var.github == null || can(regex("^[A-Za-z0-9][A-Za-z0-9._/-]*$", var.github.branch))
    error_message = "github.branch must be a branch's name, such as main."
  }
}

variable "kestra_home" {
  description = "A machine for open-source Kestra in this project, and who opens it; null where Kestra lives elsewhere. Prod wants the images by digest."
  type = object({
    users          = set(string)
    zone           = optional(string)
    machine_type   = optional(string, "e2-medium")
    kestra_image   = optional(string, "kestra/kestra:v2.0.0")
    postgres_image = optional(string, "postgres:18")
  })
  default = null

  validation {
    condition     = var.kestra_home == null || try(alltrue([for member in var.kestra_home.users : can(regex("^(${local.people}|${local.account}|${local.federated})$", member))]), false)
    error_message = "kestra_home.users must be group:, user: or serviceAccount: and an address, or principal:// or principalSet:// and a path; allUsers and allAuthenticatedUsers are refused."
  }

  validation {
    condition     = var.kestra_home == null || alltrue([for image in [try(var.kestra_home.kestra_image, ""), try(var.kestra_home.postgres_image, "")] : can(regex("^[a-z0-9][a-zA-Z0-9._/:@-]*$", image))])
    error_message = "kestra_home.kestra_image and postgres_image must be images, NAME:TAG or NAME:TAG@sha256:…; the machine starts nothing else."
  }

  validation {
    condition     = var.kestra_home == null || can(regex("^[a-z][a-z0-9-]+$", var.kestra_home.machine_type))
    error_message = "kestra_home.machine_type must be a machine type, such as e2-medium."
  }

  validation {
    condition = var.kestra_home == null || var.environment != "prod" || alltrue([
      for image in [try(var.kestra_home.kestra_image, ""), try(var.kestra_home.postgres_image, "")] : can(regex("@sha256:[0-9a-f]{64}$", image))
    ])
    error_message = "kestra_home.kestra_image and postgres_image must be given by digest in prod, NAME:TAG@sha256:…: `docker buildx imagetools inspect NAME:TAG --format '{{.Manifest.Digest}}'` shows it."
  }

  validation {
    condition     = try(var.kestra_home.zone, null) == null || can(regex("^${var.region}-[a-z]$", var.kestra_home.zone))
    error_message = "kestra_home.zone must be a zone of region, such as europe-west1-b."
  }
}

variable "kestra_principals" {
  description = "Identities that may act as the Kestra account, such as serviceAccount:PROJECT.svc.id.goog[NAMESPACE/NAME] for Kestra on GKE."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for principal in var.kestra_principals : can(regex("^(${local.account}|${local.federated})$", principal))])
    error_message = "kestra_principals must be serviceAccount: and an address or PROJECT.svc.id.goog[NAMESPACE/NAME], or principal:// or principalSet:// and a path; people and everybody are refused."
  }
}

variable "landing_parts_days" {
  description = "Days after which the landing bucket's parts are deleted; the rows stay in BigQuery, Meltano's bookmarks in the bucket."
  type        = number
  default     = 90
  nullable    = false

  validation {
    condition     = var.landing_parts_days >= 7 && var.landing_parts_days <= 36500 && floor(var.landing_parts_days) == var.landing_parts_days
    error_message = "landing_parts_days must be a whole number from 7 (a run is repaired from its parts) to 36500."
  }
}

variable "landing_rows_days" {
  description = "Days after which a day's rows leave the landing tables, those of an incremental stream too; null keeps them."
  type        = number
  default     = null

  validation {
    condition     = var.landing_rows_days == null || try(var.landing_rows_days >= 30 && var.landing_rows_days <= 36500 && floor(var.landing_rows_days) == var.landing_rows_days, false)
    error_message = "landing_rows_days must be null or a whole number from 30 to 36500."
  }
}

variable "landing_versioning" {
  description = "Keep replaced and deleted parts for 30 days more; parts are never overwritten, so that soft delete normally does."
  type        = bool
  default     = false
  nullable    = false
}

variable "location" {
  description = "Where data lives: US, EU or a region. Bucket and datasets share it, as load jobs ask for."
  type        = string
  default     = "EU"
  nullable    = false

  validation {
    condition     = can(regex("^(US|EU|[a-z]+-[a-z]+[1-9][0-9]?)$", var.location))
    error_message = "location must be US, EU or a region such as europe-west1."
  }
}

variable "marts_readers" {
  description = "Who reads the marts, such as group:analysts@example.com."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for member in var.marts_readers : can(regex("^(${local.people}|${local.account}|${local.federated}|domain:[^@[:space:]]+[.][^@[:space:]]+)$", member))])
    error_message = "marts_readers must be group:, user: or serviceAccount: and an address, domain: and a domain, or principal:// or principalSet:// and a path; nothing here is public."
  }
}

variable "network" {
  description = "An existing network and subnetwork for the machines, from which they reach the internet and Google; null makes one with NAT."
  type = object({
    network    = string
    subnetwork = string
  })
  default = null

  validation {
    condition     = var.network == null || can(regex("^projects/[a-z][a-z0-9-]+/global/networks/[a-z][a-z0-9-]*$", var.network.network))
    error_message = "network.network must look like projects/PROJECT/global/networks/NAME: `gcloud compute networks list --uri` shows it after v1/."
  }

  validation {
    condition     = var.network == null || can(regex("^projects/[a-z][a-z0-9-]+/regions/${var.region}/subnetworks/[a-z][a-z0-9-]*$", var.network.subnetwork))
    error_message = "network.subnetwork must lie in region and look like projects/PROJECT/regions/REGION/subnetworks/NAME."
  }

  validation {
    condition     = var.network == null || var.kestra_home == null || startswith(try(var.network.network, ""), "projects/${var.project_id}/")
    error_message = "network.network must be of this project with kestra_home: its firewall rule is made there. Use a network of this project, or leave kestra_home out."
  }
}

variable "project_id" {
  description = "The Google Cloud project; one per environment keeps them apart."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id must be a project's id (not its name or number): 6 to 30 lower-case letters, digits and hyphens."
  }
}

variable "region" {
  description = "Where containers run and images live; on the continent of location."
  type        = string
  default     = "europe-west1"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[1-9][0-9]?$", var.region))
    error_message = "region must be a region such as europe-west1; zones and multi-regions are not."
  }

  validation {
    condition     = contains(["US", "EU"], var.location) ? startswith(var.region, var.location == "US" ? "us-" : "europe-") : var.region == var.location
    error_message = "region must lie in location: us-… in US, europe-… in EU, the same region otherwise; traffic between continents costs money and time."
  }
}

variable "state_bucket" {
  description = "The bucket of Terraform's state, which the plan account may read; needed with github.plan only."
  type        = string
  default     = null

  validation {
    condition     = var.state_bucket != null || !try(var.github.plan, false)
    error_message = "state_bucket must be given with github.plan: a plan reads the state."
  }

  validation {
    condition     = var.state_bucket == null || can(regex("^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$", var.state_bucket))
    error_message = "state_bucket must be a bucket's name, such as my-project-id-terraform-state, without gs://."
  }
}
