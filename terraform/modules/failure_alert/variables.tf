variable "emails" {
  description = "Who is told."
  type        = set(string)
}

variable "name" {
  description = "What names begin with."
  type        = string
}

variable "project_id" {
  description = "The project's id."
  type        = string
}
