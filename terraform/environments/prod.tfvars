# How prod behaves. What names your own project is in environments/prod.site.tfvars: see site.tfvars.example.
environment         = "prod"
deletion_protection = true
landing_parts_days  = 90
