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
