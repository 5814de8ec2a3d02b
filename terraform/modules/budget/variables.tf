variable "billing_account" {
  description = "The billing account's id."
  type        = string
}

variable "monthly_amount" {
  description = "Whole units of the billing account's currency."
  type        = number
}

variable "name" {
  description = "The budget's name."
  type        = string
}

variable "notification_channels" {
  description = "Channels notified besides the billing account's administrators; a budget takes the first five."
  type        = list(string)
}

variable "project_number" {
  description = "The project's number."
  type        = string
}
