variable "ip_range" {
  description = "Addresses of the machines; a run needs one for each container."
  type        = string
  default     = "10.90.0.0/24"

  validation {
    condition     = can(cidrnetmask(var.ip_range)) && !can(regex("/(2[89]|3[0-2])$", var.ip_range))
    error_message = "ip_range must be an IPv4 range of at least 32 addresses, such as 10.90.0.0/24."
  }
}

variable "name" {
  description = "What names begin with."
  type        = string
}

variable "project_id" {
  description = "The project's id."
  type        = string
}

variable "region" {
  description = "Where the machines run."
  type        = string
}
