variable "delete" {
  description = "Which objects are deleted when they are old: those with these beginnings and ends of their names, each set by itself."
  type        = list(object({ prefixes = optional(list(string)), suffixes = optional(list(string)) }))
}

variable "delete_after_days" {
  description = "Age at which they are deleted."
  type        = number
}

variable "deletion_protection" {
  description = "Refuse to delete the bucket, full or empty."
  type        = bool
}

variable "iam" {
  description = "Permissions on this bucket only, each under a name of its own; with folder, on the objects in it only."
  type        = map(object({ role = string, member = string, folder = optional(string) }))
}

variable "kms_key" {
  description = "Key for new objects; null for Google's."
  type        = string
}

variable "location" {
  description = "US, EU or a region."
  type        = string
}

variable "name" {
  description = "The bucket's name, unique in the world."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.name)) && !strcontains(var.name, "google")
    error_message = "A bucket's name has 3 to 63 lower-case letters, digits and hyphens, and not the word google: choose another project_id."
  }
}

variable "project_id" {
  description = "The project's id."
  type        = string
}

variable "versioning" {
  description = "Keep replaced and deleted objects for 30 days."
  type        = bool
}
