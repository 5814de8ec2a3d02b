output "notification_channels" {
  description = "The channels, for other alerts."
  value       = [for channel in google_monitoring_notification_channel.email : channel.id]
}
