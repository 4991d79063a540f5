"""What did fine-tuning do to this model, and would another way of tuning it have been better?"""
