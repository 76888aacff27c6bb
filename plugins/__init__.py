"""The bridge between Airflow and DVC: knows dvc.yaml and Airflow, neither the pipeline nor torch."""
