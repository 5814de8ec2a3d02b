variable "dataset_id" {
  description = "The landing dataset."
  type        = string
}

variable "deletion_protection" {
  description = "Refuse to delete or replace the tables."
  type        = bool
}

variable "kms_key" {
  description = "Key of the tables; null for Google's."
  type        = string
}

variable "project_id" {
  description = "The project's id."
  type        = string
}

variable "rows_days" {
  description = "Days after which a day's rows are deleted; null keeps them."
  type        = number
}

variable "schemas" {
  description = "Folder of the tables' files."
  type        = string
}
