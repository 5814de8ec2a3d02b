# How dev behaves. What names your own project is in environments/dev.site.tfvars: see site.tfvars.example.
environment        = "dev"
landing_parts_days = 14
landing_rows_days  = 90
