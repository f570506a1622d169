"""What `makemigrations` writes: Django's operations, in the steps that two codes and their traffic survive."""
