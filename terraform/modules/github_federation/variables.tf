variable "branch" {
  description = "The branch that ships."
  type        = string
}

variable "deletion_protection" {
  description = "Refuse to delete the pool: its name stays taken for 30 days."
  type        = bool
}

variable "owner_id" {
  description = "Number of the repository's owner."
  type        = string
}

variable "pool_id" {
  description = "The pool's id."
  type        = string
}

variable "project_id" {
  description = "The project's id."
  type        = string
}

variable "repository_id" {
  description = "Number of the repository."
  type        = string
}
