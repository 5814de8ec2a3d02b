variable "deletion_protection" {
  description = "Refuse to delete the keys: without them the data is lost."
  type        = bool
}

variable "disks" {
  description = "Encrypt disks too."
  type        = bool
}

variable "location" {
  description = "Where data lives: US, EU or a region."
  type        = string
}

variable "name" {
  description = "Name of key rings and keys."
  type        = string
}

variable "project_id" {
  description = "The project's id."
  type        = string
}

variable "project_number" {
  description = "The project's number, which Google's service agents are named by."
  type        = string
}

variable "region" {
  description = "Where images and secrets live."
  type        = string
}
