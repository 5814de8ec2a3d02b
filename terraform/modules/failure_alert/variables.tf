variable "emails" {
  description = "E-mail addresses that get the alert."
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
