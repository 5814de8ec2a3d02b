variable "dataset_id" {
  description = "The dataset's id."
  type        = string
}

variable "deletion_protection" {
  description = "Refuse to delete the dataset, full or empty."
  type        = bool
}

variable "description" {
  description = "What is in it."
  type        = string
}

variable "iam" {
  description = "Permissions on this dataset only, each under a name of its own."
  type        = map(object({ role = string, member = string }))
}

variable "kms_key" {
  description = "Key for new tables; null for Google's."
  type        = string
}

variable "labels" {
  description = "Labels beside the provider's."
  type        = map(string)
}

variable "location" {
  description = "US, EU or a region."
  type        = string
}

variable "project_id" {
  description = "The project's id."
  type        = string
}

variable "rows_days" {
  description = "Days after which a day's rows leave tables partitioned by day that are made in it without a limit of their own; null keeps them."
  type        = number
}
