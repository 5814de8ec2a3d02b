variable "deletion_protection" {
  description = "Refuse to delete the secret."
  type        = bool
}

variable "kms_key" {
  description = "Key of the secret; null for Google's."
  type        = string
}

variable "project_id" {
  description = "The project's id."
  type        = string
}

variable "readers" {
  description = "Who reads its value, each under a name of its own."
  type        = map(string)
}

variable "region" {
  description = "Where the secret is kept."
  type        = string
}

variable "secret_id" {
  description = "The secret's name."
  type        = string
}
