"""Reading: files, folders, PDFs, pipes and addresses, each as parts that know their place."""
