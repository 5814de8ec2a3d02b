variable "audit_logs" {
  description = "Log reads and writes of objects, secrets and identities."
  type        = bool
}

variable "project_id" {
  description = "The project's id."
  type        = string
}

variable "services" {
  description = "Services that must be on."
  type        = list(string)
}
