variable "account_id" {
  description = "The part of its address before the @."
  type        = string
}

variable "description" {
  description = "What it is for."
  type        = string
}

variable "display_name" {
  description = "Its name for people."
  type        = string
}

variable "iam" {
  description = "Who may act as it, each under a name of its own."
  type        = map(object({ role = string, member = string }))

  validation {
    condition     = alltrue([for grant in values(var.iam) : !contains(["allUsers", "allAuthenticatedUsers"], grant.member)])
    error_message = "A service account is never everybody's."
  }
}

variable "project_id" {
  description = "The project's id."
  type        = string
}

variable "project_roles" {
  description = "Roles on the project: only those that no smaller thing can give."
  type        = list(string)

  validation {
    condition     = length(setintersection(var.project_roles, ["roles/owner", "roles/editor"])) == 0
    error_message = "project_roles must name what is needed; owner and editor are everything."
  }
}
