variable "alert_webhook" {
  description = "The secret whose value Kestra sees as ALERT_WEBHOOK."
  type        = string
}

variable "deletion_protection" {
  description = "Refuse to delete the machine and its data."
  type        = bool
}

variable "kestra_image" {
  description = "Kestra's image; in production with its digest after it."
  type        = string
}

variable "kms_key" {
  description = "Key for the disks; null for Google's."
  type        = string
}

variable "machine_type" {
  description = "The machine; Kestra and PostgreSQL want 4 GB."
  type        = string
}

variable "name" {
  description = "What names begin with."
  type        = string
}

variable "network" {
  description = "The network."
  type        = string
}

variable "postgres_image" {
  description = "PostgreSQL's image; in production with its digest after it."
  type        = string
}

variable "project_id" {
  description = "The project's id."
  type        = string
}

variable "region" {
  description = "Where snapshots of the data are scheduled."
  type        = string
}

variable "service_account" {
  description = "The address of the account that Kestra runs as."
  type        = string
}

variable "subnetwork" {
  description = "The subnetwork, with a way to the internet: images and the API are there."
  type        = string
}

variable "users" {
  description = "Who may open Kestra."
  type        = set(string)
}

variable "zone" {
  description = "Where the machine is."
  type        = string
}
