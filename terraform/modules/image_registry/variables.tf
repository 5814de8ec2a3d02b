variable "deletion_protection" {
  description = "Refuse to delete the repository."
  type        = bool
}

variable "iam" {
  description = "Permissions on this repository only, each under a name of its own."
  type        = map(object({ role = string, member = string }))
}

variable "kms_key" {
  description = "Key of the images; null for Google's."
  type        = string
}

variable "project_id" {
  description = "The project's id."
  type        = string
}

variable "region" {
  description = "Where the images are."
  type        = string
}

variable "repository_id" {
  description = "The repository's name."
  type        = string
}
